// Command probe is what the tests run in containers.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(verb string, args []string) error {
	switch verb {
	case "sleep": // until asked to stop
		fmt.Println("asleep")
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		<-c
		fmt.Println("awake")
		return nil
	case "stubborn": // until killed
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("asleep")
		for {
			time.Sleep(time.Hour)
		}
	case "exit":
		n, err := strconv.Atoi(args[0])
		if err == nil {
			os.Exit(n)
		}
		return err
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
		return nil
	case "cat":
		data, err := os.ReadFile(args[0])
		os.Stdout.Write(data)
		return err
	case "until": // until the file holds the text
		for data, _ := os.ReadFile(args[0]); string(data) != args[1]; data, _ = os.ReadFile(args[0]) {
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	case "mode":
		info, err := os.Stat(args[0])
		if err == nil {
			fmt.Println(info.Mode())
		}
		return err
	case "nofile":
		var l syscall.Rlimit
		err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
		fmt.Println(l.Cur, l.Max)
		return err
	case "both": // n lines on each stream
		n, err := strconv.Atoi(args[0])
		for i := range n {
			fmt.Println("out", i)
			fmt.Fprintln(os.Stderr, "err", i)
		}
		return err
	case "ticks": // n lines, a tenth of a second apart
		n, err := strconv.Atoi(args[0])
		for i := range n {
			fmt.Println("tick", i)
			time.Sleep(100 * time.Millisecond)
		}
		return err
	case "serve":
		return serve(args[0], args[1])
	case "ask":
		return ask(args[0])
	case "dial": // join the standard streams to a socket
		c, err := net.Dial("unix", args[0])
		if err != nil {
			return err
		}
		go io.Copy(c, os.Stdin)
		_, err = io.Copy(os.Stdout, c)
		return err
	case "send":
		c, err := net.Dial("udp", args[0])
		if err == nil {
			_, err = c.Write([]byte(args[1]))
		}
		return err
	}
	return fmt.Errorf("unknown verb %q", verb)
}

// serve answers each connection with the reply, until asked to stop.
func serve(addr, reply string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	go func() { <-c; os.Exit(0) }()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		fmt.Fprintln(conn, reply)
		conn.Close()
	}
}

// ask prints what the server replies, trying for ten seconds.
func ask(addr string) error {
	end := time.Now().Add(10 * time.Second)
	for {
		reply, err := askOnce(addr)
		if err == nil && reply != "" {
			fmt.Print(reply)
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("no reply from %s: %v", addr, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func askOnce(addr string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	reply, err := io.ReadAll(conn)
	return string(reply), err
}
