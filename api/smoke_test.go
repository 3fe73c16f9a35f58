package api

import ("testing";"fmt")

func TestSmoke(t *testing.T) {
	b := mustServe(t, nil)
	p := b.mustProject(projectFile)
	fmt.Printf("%+v\n", p)
	fmt.Println(b.do("GET", "/api/project", "").body)
	fmt.Println(b.do("GET", "/api", "").body)
	run := b.mustStart(b.mustPlan())
	fmt.Println(b.do("GET", "/api/run/"+run, ""))
	fmt.Println(b.do("GET", "/api/nope", ""))
	fmt.Println(b.do("PATCH", "/api", ""))
	fmt.Println(b.do("GET", "/api?limit=x", ""))
	fmt.Println(b.do("DELETE", "/api/run/"+run+"?terminate&purge", ""))
	fmt.Println(b.do("GET", "/api/openapi.json", "").body)
}
