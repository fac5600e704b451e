"""What the commands of ``health-pipeline`` do and show in a terminal."""
