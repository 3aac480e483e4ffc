CREATE TABLE IF NOT EXISTS messages (
  id            int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  client_offset text UNIQUE,
  content       text NOT NULL
);
