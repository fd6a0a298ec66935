"""Speed and accuracy, as commands."""
