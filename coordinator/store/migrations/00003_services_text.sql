-- Members announce services, and text beside their endpoints.

-- +goose Up
ALTER TABLE members ADD COLUMN services TEXT NOT NULL DEFAULT 'null';
ALTER TABLE members ADD COLUMN dns_text TEXT NOT NULL DEFAULT 'null';
ALTER TABLE members ADD COLUMN plain BOOLEAN NOT NULL DEFAULT FALSE;
