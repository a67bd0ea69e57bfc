"""Every figure of the book, one module a topic; each function returns a matplotlib figure and computes nothing new."""
