// Empty: with an assembly file in the package, timers.go may declare functions
// whose bodies are elsewhere.
