-- Where the server has the wrappers' extensions.
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1', dbname 'x');
CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (user 'u', password 'p');
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE passwd (line text) SERVER files OPTIONS (filename '/etc/passwd');
CREATE FOREIGN TABLE remote_customers (id bigint, email text) SERVER elsewhere;
CREATE VIEW local_looking AS SELECT id, email FROM remote_customers;
