"""What every server and client of the mesh shares. Imports the generated contract, never a service."""
