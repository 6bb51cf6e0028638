"""The report: what a plan asked for, what exists of it, and one page that shows it."""
