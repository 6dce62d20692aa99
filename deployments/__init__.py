"""What runs when: the deployments of `prefect.yaml` and the work pool that serves them."""
