"""The suite's side of the web application's API package."""
