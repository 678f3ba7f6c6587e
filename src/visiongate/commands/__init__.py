"""What a person calls besides the line, by a ``make`` target each: thin files that read, call the library, and tell."""
