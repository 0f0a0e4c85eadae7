"""What every page that is one file is made of: markup, words, pictures, evidence and style."""
