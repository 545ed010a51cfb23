"""The vocabulary: everything that crosses a process boundary. Imports nothing of ours."""
