"""The demonstration: a database with data of its own, three clients through the proxy, and the trail they leave."""
