"""Pictures of results: figures of reports, charts to point at, heat maps."""
