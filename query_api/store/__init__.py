"""What the API reads from ClickHouse, one file per thing read; SQL stands here and in `search.compiler`, nowhere else."""
