"""Arrays in, pictures out: images, charts and figures. No Streamlit."""
