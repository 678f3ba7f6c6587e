"""Pull requests on GitHub: which one an event is about, and CML's client, which writes to it."""
