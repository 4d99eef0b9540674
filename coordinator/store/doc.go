// Package store keeps the state of a mesh in a SQLite file.
//
// It knows SQL, and the domain types of package coordinator, whose Store it
// implements. It never knows why something changes.
//
//	coordinator.db        the state, in WAL mode
//	coordinator.db.lock   held while a coordinator runs; names its process
//	coordinator.db.v1     a copy from before the migration away from schema 1
//
// All changes of one Save are one transaction: after a crash or on a full disk,
// all of them are there or none. The schema is numbered; an older one is copied
// and then migrated on opening, a newer one is refused.
package store
