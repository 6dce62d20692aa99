"""The doctor: looks at every system that the suite is connected to and says what is wrong and what to do.

It stands above all other packages, so that none of them need know the others for its sake. `python -m db doctor` and
`make doctor` run it.
"""

APPLICATION, HRIS, BIOSTAR = "application database", "HRIS", "BioStar"
REDIS, PREFECT, MAIL = "Redis", "Prefect", "mail"
# What each system is called on the command line.
SYSTEMS = {
    "application": APPLICATION,
    "hris": HRIS,
    "biostar": BIOSTAR,
    "redis": REDIS,
    "prefect": PREFECT,
    "mail": MAIL,
}
