//go:build unix

package main

import "syscall"

// detached makes a process that no terminal's end takes with it.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
