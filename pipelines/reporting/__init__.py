"""The page that answers the research questions."""
