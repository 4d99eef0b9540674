package main

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// detached makes a process that no console's end takes with it.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
}
