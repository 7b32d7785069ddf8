"""The sections of the page, a file each: from a run to HTML."""
