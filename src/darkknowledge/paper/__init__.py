"""The paper: what the report and the notebooks show, and how it is rendered."""
