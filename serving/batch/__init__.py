"""The batch job: scores many images with Beam, on one machine or a cluster."""
