"""The arena: one data set, several models, equal terms."""

import streamlit as st

from paths import ROOT
from ui.arena.live import board, take_away
from ui.arena.terms import buttons, pick, shown_comparison, terms_form, views_of
from ui.common.page import sections, set_up

set_up("Arena")
st.title("Arena", anchor=False)
st.markdown(
    "One data set, several models, equal terms: the same points, batches, steps or seconds, and "
    "seeds. What a model cannot answer is marked as such."
)
with st.sidebar:
    st.divider()
    terms = terms_form()
comparison, known = shown_comparison()
pairs = views_of(comparison) if comparison is not None else []
buttons(terms, comparison, pairs)
with st.expander("What is compared, and what the numbers are", icon=":material/school:"):
    for part in sections(ROOT / "docs" / "arena.md").values():
        st.markdown(part)
if comparison is None:
    st.info(
        "Nothing has been compared yet. **Classic** sets RealNVP against Glow on 1,000 "
        "points of a mixture of Gaussians, five seeds each: some minutes. Or choose in the "
        "sidebar, and press **Compare**."
    )
else:
    pick(known)
    board(comparison, pairs)
    take_away(comparison, pairs)
