-- What masking refuses, since a masked value would become readable by it; docs/masking.md says what to write instead.
SELECT * FROM crm.orders WHERE customer_id = crm.customer_id_of('zyx3@example.org') ORDER BY id;
UPDATE crm.customers c SET phone = l.full_name FROM crm.leads l WHERE l.email = c.email AND c.id = 4;
SELECT id FROM crm.customers WHERE birth_date > created_at::date;
SELECT id FROM crm.customers WHERE to_tsvector('simple', first_name || ' ' || last_name || ' ' || coalesce(city, '')) @@ to_tsquery('simple', 'wien');
SELECT id FROM crm.customers WHERE coalesce(city, postcode) = 'Wien' ORDER BY id LIMIT 2;
SELECT c.email, v.email FROM crm.customers c JOIN (VALUES ('zyx1@example.org'), ('zyx2@example.org')) AS v(email) ON v.email = c.email;
SELECT c.id, d::date FROM crm.customers c JOIN generate_series('1970-01-01'::date, '2010-01-01', '1 day') d ON d = c.birth_date;
SELECT c.id, p.title FROM crm.customers c JOIN crm.products p ON p.title = c.last_name;
SELECT id FROM crm.customers WHERE status = first_name;
UPDATE crm.orders o SET comment = c.email FROM crm.customers c WHERE c.id = o.customer_id AND o.id = 1;
INSERT INTO crm.events (customer_id, kind) SELECT id, email FROM crm.customers WHERE id = 1;
INSERT INTO crm.products (sku, title) SELECT email, last_name FROM crm.customers WHERE id = 1;
SELECT set_config('app.who', email, true) FROM crm.customers WHERE id = 1;
SELECT pg_notify('x', email) FROM crm.customers WHERE id = 1;
SELECT pg_try_advisory_xact_lock(hashtext(email)) FROM crm.customers WHERE id = 1;
SELECT generate_series(1, length(last_name)) FROM crm.customers WHERE id = 1;
SELECT id, last_name AS name FROM crm.customers UNION SELECT id, title FROM crm.products;
