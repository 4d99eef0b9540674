package tunnel

import (
	"testing"

	"meshd/agent/netcfg/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }
