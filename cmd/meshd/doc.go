// Command meshd is the whole of meshd in one binary: the coordinator, the agent
// and the words that a person says to either.
//
// It knows flags, tables, sentences and exit codes. It never knows how a mesh
// works: each command asks a daemon and prints the answer.
//
//	meshd up, status, ping…   ── agent/localapi, unix socket ──► agent
//	meshd coordinator key…    ── coordinator/api, unix socket ─► coordinator
//	meshd up --foreground     runs the agent here
//	meshd coordinator serve   runs the coordinator here
//
// stdout is the answer, stderr is talk. Each command is in the file of its name;
// main.go wires them, problem.go has the exit codes.
package main
