-- The database of the everyday suite: a shop as shops are, with sensitive columns in half of its tables.
CREATE SCHEMA crm;
CREATE TYPE crm.order_state AS ENUM ('new', 'paid', 'shipped', 'closed');
CREATE DOMAIN crm.money_amount AS numeric(12, 2) CHECK (VALUE >= 0);
CREATE TABLE crm.customers (
  id serial PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL, email text NOT NULL UNIQUE, phone text, birth_date date,
  street text, postcode text, city text, country char(2) DEFAULT 'DE', status text NOT NULL DEFAULT 'active', newsletter boolean DEFAULT false,
  notes text, preferences jsonb DEFAULT '{}', referred_by int REFERENCES crm.customers, created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz, deleted_at timestamptz);
CREATE TABLE crm.customers_archive (LIKE crm.customers);
CREATE TABLE crm.leads (id serial PRIMARY KEY, full_name text, email text, source text, score int, created_at timestamptz DEFAULT now());
CREATE TABLE crm.employees (id serial PRIMARY KEY, full_name text NOT NULL, email text, department text, manager_id int REFERENCES crm.employees, salary numeric, hired_on date);
CREATE TABLE crm.products (id serial PRIMARY KEY, sku text UNIQUE, title text, category text, price crm.money_amount, stock int DEFAULT 0, tags text[], attributes jsonb);
CREATE TABLE crm.orders (
  id serial PRIMARY KEY, customer_id int NOT NULL REFERENCES crm.customers, employee_id int REFERENCES crm.employees, state crm.order_state NOT NULL DEFAULT 'new',
  total crm.money_amount, currency char(3) DEFAULT 'EUR', placed_at timestamptz NOT NULL DEFAULT now(), shipped_at timestamptz, comment text);
CREATE TABLE crm.order_items (order_id int REFERENCES crm.orders ON DELETE CASCADE, line int, product_id int REFERENCES crm.products, quantity int, price numeric, PRIMARY KEY (order_id, line));
CREATE TABLE crm.payments (id serial PRIMARY KEY, order_id int REFERENCES crm.orders, card_number text, iban text, amount numeric, paid_at timestamptz, provider text);
CREATE TABLE crm.sessions (token text PRIMARY KEY, customer_id int REFERENCES crm.customers, ip_address inet, user_agent text, started_at timestamptz, ended_at timestamptz);
CREATE TABLE crm.tickets (id serial PRIMARY KEY, customer_id int REFERENCES crm.customers, assignee_id int REFERENCES crm.employees, subject text, body text, state text DEFAULT 'open', priority int, opened_at timestamptz DEFAULT now(), closed_at timestamptz);
CREATE TABLE crm.events (id bigserial PRIMARY KEY, customer_id int, kind text, payload jsonb, at timestamptz DEFAULT now());
CREATE TABLE crm.daily_stats (day date PRIMARY KEY, customers int, orders int, revenue numeric);
CREATE TABLE crm.jobs (id bigserial PRIMARY KEY, queue text, state text DEFAULT 'ready', run_at timestamptz DEFAULT now(), attempts int DEFAULT 0, payload jsonb);
CREATE TABLE crm."User" (id text PRIMARY KEY, "firstName" text, "emailAddress" text, "createdAt" timestamptz DEFAULT now(), role text DEFAULT 'USER');
CREATE TABLE crm.audit_trail (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), what text);
CREATE INDEX ON crm.customers (lower(email));
CREATE INDEX ON crm.customers (last_name text_pattern_ops, first_name);
CREATE INDEX ON crm.orders (customer_id, placed_at DESC) WHERE state <> 'closed';
CREATE VIEW crm.customer_overview AS
  SELECT c.id, c.first_name || ' ' || c.last_name AS name, c.email, c.city, count(o.id) AS orders, coalesce(sum(o.total), 0) AS revenue, max(o.placed_at) AS last_order
  FROM crm.customers c LEFT JOIN crm.orders o ON o.customer_id = c.id GROUP BY c.id;
CREATE VIEW crm.open_tickets AS SELECT t.*, c.email AS customer_email FROM crm.tickets t JOIN crm.customers c ON c.id = t.customer_id WHERE t.state = 'open';
CREATE MATERIALIZED VIEW crm.revenue_by_month AS
  SELECT date_trunc('month', placed_at) AS month, count(*) AS orders, sum(total) AS revenue FROM crm.orders GROUP BY 1;
CREATE UNIQUE INDEX ON crm.revenue_by_month (month);
CREATE FUNCTION crm.customer_name(i int) RETURNS text LANGUAGE sql STABLE AS $$ SELECT first_name || ' ' || last_name FROM crm.customers WHERE id = i $$;
CREATE FUNCTION crm.orders_of(i int) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT count(*) FROM crm.orders WHERE customer_id = i $$;
CREATE FUNCTION crm.customer_id_of(e text) RETURNS int LANGUAGE sql STABLE AS $$ SELECT id FROM crm.customers WHERE email = lower(e) $$;
CREATE FUNCTION crm.top_products(n int) RETURNS TABLE (product_id int, sold bigint) LANGUAGE sql STABLE AS
  $$ SELECT product_id, sum(quantity) FROM crm.order_items GROUP BY 1 ORDER BY 2 DESC LIMIT n $$;
CREATE FUNCTION crm.discounted(p numeric, rate numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT round(p * (1 - rate), 2) $$;
CREATE FUNCTION crm.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON crm.customers FOR EACH ROW EXECUTE FUNCTION crm.touch();
CREATE FUNCTION crm.note_order() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN UPDATE crm.customers SET status = 'active' WHERE id = NEW.customer_id; RETURN NULL; END $$;
CREATE TRIGGER note_order AFTER INSERT ON crm.orders FOR EACH ROW EXECUTE FUNCTION crm.note_order();
INSERT INTO crm.customers (first_name, last_name, email, phone, birth_date, street, postcode, city, notes, preferences)
  SELECT (ARRAY['Zyxwana', 'Brimolda', 'Quorvath', 'Fenwyck'])[1 + i % 4], 'Tarnovel' || i, 'zyx' || i || '@example.org', '+4930123450' || i, date '1970-01-01' + i * 400,
    'Elmstrasse ' || i, '1011' || i % 10, (ARRAY['Bremen', 'Genf', 'Wien'])[1 + i % 3], 'call zyx' || i || '@example.org', '{"theme": "dark", "lang": "de"}' FROM generate_series(1, 30) i;
INSERT INTO crm.leads (full_name, email, source, score) SELECT 'Lead Tarnovel' || i, 'zyx' || i || '@example.org', 'fair', i FROM generate_series(20, 40) i;
INSERT INTO crm.employees (full_name, email, department, manager_id, salary, hired_on) SELECT 'Emp Tarnovel' || i, 'emp' || i || '@example.org', (ARRAY['sales', 'it'])[1 + i % 2], nullif(1, i), 50000 + i, '2020-01-01' FROM generate_series(1, 5) i;
INSERT INTO crm.products (sku, title, category, price, stock, tags, attributes) SELECT 'SKU-' || i, 'Thing ' || i, (ARRAY['books', 'lamps'])[1 + i % 2], i * 3, i, ARRAY['new', 'x'], '{"color": "red"}' FROM generate_series(1, 10) i;
INSERT INTO crm.orders (customer_id, employee_id, total, placed_at) SELECT 1 + i % 30, 1 + i % 5, i * 5, '2025-01-01'::timestamptz + i * interval '3 days' FROM generate_series(1, 90) i;
INSERT INTO crm.order_items SELECT i, 1, 1 + i % 10, 2, 3 FROM generate_series(1, 90) i;
INSERT INTO crm.payments (order_id, card_number, iban, amount, paid_at, provider) SELECT i, '4111111111111111', 'DE89370400440532013000', i, now(), 'stripe' FROM generate_series(1, 20) i;
INSERT INTO crm.sessions SELECT md5(i::text), i, '10.0.0.1', 'Mozilla', now(), NULL FROM generate_series(1, 10) i;
INSERT INTO crm.tickets (customer_id, assignee_id, subject, body, priority) SELECT i, 1, 'Help ' || i, 'my address zyx' || i || '@example.org', i % 3 FROM generate_series(1, 10) i;
INSERT INTO crm.events (customer_id, kind, payload) SELECT i, 'login', jsonb_build_object('page', '/x', 'email', 'zyx' || i || '@example.org', 'ms', i) FROM generate_series(1, 10) i;
INSERT INTO crm.daily_stats SELECT '2025-01-01'::date + i, i, i, i FROM generate_series(1, 30) i;
INSERT INTO crm.jobs (queue, payload) SELECT 'mail', '{}' FROM generate_series(1, 5);
INSERT INTO crm."User" (id, "firstName", "emailAddress") VALUES ('u1', 'Zyxwana', 'zyx1@example.org');
REFRESH MATERIALIZED VIEW crm.revenue_by_month;
ANALYZE;
