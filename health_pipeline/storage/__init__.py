"""Where tables live: the Parquet lake, the engine that reads it, and the state database."""
