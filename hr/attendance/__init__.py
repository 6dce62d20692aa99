"""Attendance: when the people of a meal request came and left, as the HRIS knows it, else BioStar."""
