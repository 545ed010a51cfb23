-- Somebody's tables. What {…} stands for differs between two databases; all else is the same in both.
CREATE SCHEMA v;
CREATE TABLE v.clients (id int PRIMARY KEY, full_name text, email text UNIQUE, phone varchar(30), birth_date date, last_ip inet, iban text,
  home_address text, city text NOT NULL, plan text, visits int DEFAULT 0, joined date);
INSERT INTO v.clients VALUES
  (1, '{name1}', '{mail1}', '{phone1}', '{born1}', '{ip1}', '{iban1}', '{home1}', 'Bremen', 'gold', 3, '2024-01-02'),
  (2, '{name2}', '{mail2}', '{phone2}', '{born2}', '{ip2}', '{iban2}', '{home2}', 'Genf', 'free', 5, '2024-02-03'),
  (3, '{name3}', '{mail3}', '{phone3}', '{born3}', '{ip3}', '{iban3}', '{home3}', 'Lyon', 'gold', 8, '2024-03-04');
CREATE TABLE v.orders (id int PRIMARY KEY, client int REFERENCES v.clients, total numeric, label text, placed date DEFAULT '2024-05-05');
INSERT INTO v.orders VALUES (1, 1, 10, 'book'), (2, 1, 20, 'lamp'), (3, 2, 5, 'pen'), (4, 3, 7, 'desk');
CREATE TABLE v.letters (c text PRIMARY KEY, n int);
INSERT INTO v.letters SELECT chr(g), g FROM generate_series(32, 122) g;
CREATE TABLE v.sink (n serial, w text, k int, j jsonb, t tsvector);
CREATE TABLE v.docs (id int PRIMARY KEY, body jsonb, page xml, attrs hstore, words text[]);
INSERT INTO v.docs VALUES (1, '{"full_name": "{name1}", "card": {"owner": {"name": "{name1}"}}, "theme": "dark"}',
  '<p><full_name>{name1}</full_name></p>', 'full_name=>"{name1}", a=>b', '{"{mail1}"}');
CREATE SEQUENCE v.counter;
CREATE VIEW v.roster AS SELECT c.id, c.full_name AS a, c.city, o.total AS t FROM v.clients c JOIN v.orders o ON o.client = c.id;
CREATE VIEW v.safe WITH (security_barrier) AS SELECT id, full_name AS b, visits FROM v.clients WHERE visits < 100;
CREATE FUNCTION v.canary(i int) RETURNS int LANGUAGE sql AS 'SELECT i + 1';
CREATE FUNCTION v.lookup(i int) RETURNS text LANGUAGE sql STABLE AS 'SELECT full_name FROM v.clients WHERE id = i';
CREATE FUNCTION v.fixed() RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT full_name FROM v.clients WHERE id = 1';
ANALYZE v.clients;
