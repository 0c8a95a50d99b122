"""Arrays in, images, charts and figures out. No Streamlit."""
