"""Training jobs and endpoints on SageMaker, against stand-ins that hold what AWS refuses."""
