-- A member may relay for others.

-- +goose Up
ALTER TABLE members ADD COLUMN relaying BOOLEAN NOT NULL DEFAULT FALSE;
