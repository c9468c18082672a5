"""One file per answer: a sheet for people, an object for programs."""
