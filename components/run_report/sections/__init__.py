"""What each section of the page shows, gathered from a run as the variables of its template."""
