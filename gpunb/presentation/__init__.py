"""How things are shown, apart from what they are: columns, their widths, and what is dropped first."""
