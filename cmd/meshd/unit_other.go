//go:build !linux

package main

import "context"

// startUnit finds no unit: systemd is Linux's.
func startUnit(context.Context, string) (found bool, err error) { return false, nil }
