"""The servers of the mesh and its command line. Services call each other through stubs, never by import."""
