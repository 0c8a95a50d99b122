"""Who has passed what of the exercises: for who runs the lab."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from analysis.exercises.progress import MARKS, as_csv, table
from ui.common.lab import lab, rules
from ui.common.widgets import download
from ui.guide.known import known


def progress_of_all() -> None:
    """Draw a row per person who has begun an exercise, and the table to take away."""
    st.subheader("Exercises", anchor=False)
    people = lab().answers_of_all()
    if not people:
        signed = "Nobody has begun one yet."
        st.info(signed if rules().sign_in else "Without sign-in, answers stay in the browsers.")
        return
    exercises = known()
    titles = {name: st.column_config.TextColumn(one.title) for name, one in exercises.items()}
    frame = pd.DataFrame(table(people, exercises))
    st.dataframe(frame, hide_index=True, column_config=titles)
    st.caption(f"{MARKS['done']} done, {MARKS['predicted']} predicted. {len(exercises)} in all.")
    made = as_csv(people, exercises)
    download("Answers (CSV)", made, "exercises.csv", "text/csv", key="admin.exercises.csv")
