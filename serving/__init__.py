"""Everything that meets an exported SavedModel. Knows its signatures only."""
