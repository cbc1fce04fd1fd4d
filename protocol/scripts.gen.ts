// Written by scripts/generate.ts from protocol/lua/*.lua. Do not edit.
import type { Script } from "./store.ts"

export const acquireScript: Script = {
  name: "acquire",
  text: "local b,d,i=KEYS[1],KEYS[2],KEYS[3]\nlocal e,c,j=ARGV[1],ARGV[2],ARGV[3]\nredis.call('DEL',i)\nlocal f=redis.call('GET',b)\nlocal function g(h)return string.match(h,'^(.+)%.')or h end\nif f and g(f)~=g(c)then return{'',redis.call('PTTL',b)}end\nredis.call('SET',b,c,'PX',j)\nlocal a=redis.call('HGET',d,e)or'- 0 0 0'\na=string.gsub(a,'^%S+',function()return c end)\nredis.call('HSET',d,e,a)\nreturn{a}",
  sha1: "b2a4b320c2a8fa814d9249ae564063e0b8a5207c",
  upstashSha1: "3435b87cb0a1417b23623c70f609bc3c7442a72a",
}

export const adoptScript: Script = {
  name: "adopt",
  text: "local j,l,i,q=KEYS[1],KEYS[2],KEYS[3],KEYS[4]\nlocal r,s,m=ARGV[1],tonumber(ARGV[2]),tonumber(ARGV[3])\nlocal t,f,u,v=ARGV[4],ARGV[5],ARGV[6],ARGV[10]\nredis.call('DEL',q)\nlocal function a(w)return string.format('%.0f',w)end\nif f==''then\nf=string.sub(string.match(redis.call('INFO','replication'),'master_replid:(%x+)')or'-',1,16)\nend\nlocal g,c,b,n=string.match(redis.call('GET',j)or'','^(%d+) (%d+) (%d+) (%S+)$')\nlocal e\nif not g then\nlocal o=redis.call('XREVRANGE',l,'+','-','COUNT',1)\nc,b=o[1]and tonumber(string.match(o[1][1],'^(%d+)'))or 0,0\ne='missing'\nelse\nc,b=tonumber(c),tonumber(b)\nlocal h\nif c<m or(g==r and b<s)then e='rolledBack'\nelseif f=='-'then h=nil\nelseif n=='-'then h='adopted'\nelseif n~=f then\nif u=='report'then h='reported'else e='identity'end\nend\nif not e and g==v then e='rolledBack'end\nif h then\nredis.call('SET',j,g..' '..a(c)..' '..a(b)..' '..f)\nend\nif not e then return{h or'same',g,a(c),a(b),a(c)}end\nend\nlocal p=redis.call('TIME')\nlocal d=math.max(c+1,p[1]*1000000+p[2],m+1)\nb=b+2\nlocal x=ARGV[7]..e..ARGV[8]..a(c)..ARGV[9]\nlocal k=redis.call('GET',i)\nif k then redis.call('SET',i,k)else redis.call('SET',i,'-','XX')end\nredis.call('XADD',l,a(d)..'-0','v','1','g',a(d),'s',a(b),'d',x)\nlocal y=string.match(k or'','^%d+ %d+ (%d+) ')or'0'\nredis.call('SET',i,a(d)..' '..a(d)..' '..y..' 0')\nredis.call('SET',j,a(d)..' '..a(d)..' '..a(b)..' '..f)\nredis.pcall('PUBLISH',t,'{\"v\":1,\"g\":'..a(d)..',\"e\":'..a(d)..',\"s\":'..a(b)..'}')\nreturn{e,a(d),a(d),a(b),a(c)}",
  sha1: "e0f23720eb1631a976923f6fae694615b7da3ba1",
  upstashSha1: "09e0646f208f1a18343e2e0b3f87c18222eaebb0",
}

export const asideScript: Script = {
  name: "aside",
  text: "local h,a,d,l,m,n=KEYS[1],KEYS[2],KEYS[3],KEYS[4],KEYS[5],KEYS[6]\nredis.call('DEL',n)\nlocal function i(o,p)\nlocal is=redis.call('TYPE',o).ok\nreturn is~='none'and is~=p\nend\nlocal f,j=i(a,'string'),i(d,'zset')\nlocal b={}\nif not f and not j then return b end\nlocal q=redis.call('TYPE',h).ok=='string'and redis.call('GET',h)or''\nlocal r=tonumber(string.match(q,'^%d+ (%d+) '))or 0\nlocal k=redis.call('TIME')\nlocal c=string.format('%.0f',math.max(r+1,k[1]*1000000+k[2]))\nlocal e,g='0','0'\nif not f then\ne,g=string.match(redis.call('GET',a)or'','^(%d+) %d+ (%d+) ')\nend\nif f then\nredis.call('RENAME',a,l)\nb[1]=a\ne,g=c,c\nend\nif j then\nredis.call('RENAME',d,m)\nb[#b+1]=d\nend\nredis.call('SET',a,(e or'0')..' '..c..' '..(g or'0')..' '..c)\nreturn b",
  sha1: "470dc2e7f1c3abccfb7c60e8b334149a1ba39c05",
  upstashSha1: "65d6b72218169a657ccb6fdddb4bca9264ff97b6",
}

export const commitScript: Script = {
  name: "commit",
  text: "local f,j,a,p,q,r=KEYS[1],KEYS[2],KEYS[3],KEYS[4],KEYS[5],KEYS[6]\nlocal s,D,E=KEYS[7],KEYS[8],KEYS[9]\nlocal k,l,to,F,b=ARGV[1],ARGV[2],ARGV[3],ARGV[4],tonumber(ARGV[5])\nlocal G,t=ARGV[6],tonumber(ARGV[7])\nlocal g=10000\nredis.call('DEL',E)\nfor u,H in ipairs({'hash','stream','zset','zset','hash','stream','stream'})do\nlocal is=redis.call('TYPE',KEYS[u]).ok\nif is~='none'and is~=H then return redis.error_reply('WRONGTYPE '..KEYS[u]..' is a '..is)end\nend\nif redis.call('HGET',f,k)~=l then return{'lost'}end\nlocal I=redis.call('GET',D)\nlocal m=8\nlocal n=m+1+3*ARGV[m]\nlocal h=n+1+ARGV[n]\nlocal v=h+1+3*ARGV[h]\nlocal function c(at,J,K)\nfor L=0,ARGV[at]-1 do\nlocal w=K(at+1+J*L)\nif w then return w end\nend\nend\nlocal M=c(h,3,function(i)\nreturn ARGV[i+1]~=''and not redis.call('ZSCORE',a,ARGV[i+1])\nend)\nif M then return{'changed'}end\nlocal N,x=string.match(l,'^(%S+) %S+ (%d+) %d+$')\nlocal y=string.match(to,'^%S+ (%d+) %d+$')\nredis.call('HSET',f,k,l)\nc(m,3,function(i)\nredis.call('ZADD',p,ARGV[i],ARGV[i+1])\nredis.call('HSET',q,ARGV[i+1],ARGV[i+2])\nend)\nc(n,1,function(i)\nredis.call('ZREM',p,ARGV[i])\nredis.call('HDEL',q,ARGV[i])\nend)\nc(h,3,function(i)\nredis.call('ZREMRANGEBYSCORE',a,ARGV[i],ARGV[i])\nredis.call('ZADD',a,ARGV[i],ARGV[i+2])\nend)\nc(v,1,function(i)redis.call('XADD',r,'*','d',ARGV[i])end)\nredis.call('HSET',f,k,N..' '..to)\nif y~=x then redis.pcall('XADD',j,y..'-0','from',x,'r',F)end\nlocal function d(O,...)\nlocal z=redis.pcall('XTRIM',O,...)\nreturn type(z)=='number'and z or 0\nend\nlocal P=tonumber(ARGV[v])>0 and d(r,'MAXLEN','~',G)or 0\nlocal e=string.format('%.0f',b)\nd(j,'MINID','~',e..'-0','LIMIT',g)\nd(j,'MAXLEN','~',t,'LIMIT',g)\nlocal A,B=redis.pcall('ZCOUNT',a,'-inf','('..e),redis.pcall('ZCARD',a)\nif type(A)=='number'and type(B)=='number'then\nlocal go=math.min(math.max(A,B-t),1000)\nif go>0 then redis.pcall('ZREMRANGEBYRANK',a,0,go-1)end\nend\nlocal C=redis.pcall('HVALS',f)\nif C.err then b=0 end\nfor _,Q in ipairs(C)do\nlocal o=tonumber(string.match(Q,'^%S+ %S+ (%d+) '))\nif o and o<b then b=o end\nend\ne=string.format('%.0f-0',b)\nif d(s,'MINID','~',e,'LIMIT',g)<g/2 then d(s,'MINID','=',e)end\nreturn{'ok',I,P}",
  sha1: "f96cd825a59f9ce41ab6aa107c09aaa918c99e8e",
  upstashSha1: "249d0979243e89dfc48cd7cb3c6360bcdbcb509d",
}

export const holdScript: Script = {
  name: "hold",
  text: "local c,g=KEYS[1],KEYS[2]\nlocal a=math.ceil(tonumber(ARGV[1]))\nredis.call('DEL',g)\nlocal d=redis.call('TIME')\nlocal b=d[1]*1000+d[2]/1000\nif a>0 and(tonumber(redis.call('GET',c))or 0)<b+a then\nredis.call('SET',c,string.format('%.3f',b+a),'PX',a)\nend\nfor i=3,#KEYS do\nlocal e=tonumber(ARGV[i-1])\nlocal f=tonumber(redis.call('HGET',KEYS[i],'tokens'))\nif not f or f>e then\nredis.call('HSET',KEYS[i],'tokens',string.format('%.9f',e),'at',string.format('%.3f',b))\nend\nend\nreturn 0",
  sha1: "ff4969c3a116b435368b0fd4ab2f96ae5f0b1ba7",
  upstashSha1: "eb4717f67a4ee25b9123f28e859ca63ece170c03",
}

export const lookScript: Script = {
  name: "look",
  text: "local c,k=KEYS[1],KEYS[2]\nlocal e,a,l,m,h=ARGV[1],tonumber(ARGV[2]),ARGV[3],tonumber(ARGV[4]),ARGV[5]\nlocal function i(v)return string.format('%.0f',v)end\nlocal n=redis.call('INFO','replication')\nlocal o=string.match(n,'role:(%S+)')or''\nif h==''then h=string.sub(string.match(n,'master_replid:(%x+)')or'-',1,16)end\nlocal w=string.match(redis.call('INFO','memory'),'maxmemory_policy:(%S+)')or''\nlocal d=''\nlocal function b(...)\nif d~=''then return false end\nlocal f=redis.pcall(...)\nif type(f)~='table'or not f.err then return f end\nd=f.err\nreturn false\nend\nlocal p=0\nif e~=''and o~='slave'then\nlocal q=redis.call('TIME')\nlocal j=q[1]*1000+math.floor(q[2]/1000)\nlocal g=tonumber(b('ZSCORE',c,e)or nil)\nif d==''and a>0 and(g and g<a or not g and j-a<m)then\np=1\nelse\na=math.max(j,a+1,(g or 0)+1)\nb('ZREM',c,'')\nb('ZADD',c,i(a),e)\nif l~=''then\nb('HSET',k,e,l)\nfor _,r in ipairs(b('ZRANGEBYSCORE',c,'-inf',i(j-m))or{})do\nb('ZREM',c,r)\nb('HDEL',k,r)\nend\nend\nif d~=''then a=tonumber(ARGV[2])end\nend\nend\nlocal s={}\nfor t=3,#KEYS do\nlocal u=redis.pcall('GET',KEYS[t])\ns[t-2]=type(u)=='string'and u\nend\nreturn{o,h,w,i(a),p,d,s}",
  sha1: "9549b2fd511cacc59b6c002e1a02863a33d1f551",
  upstashSha1: "826e4fb535e444bbef6a09edfeed8861fb4f89db",
}

export const paceScript: Script = {
  name: "pace",
  text: "local x,y=KEYS[1],KEYS[2]\nredis.call('DEL',y)\nlocal p=redis.call('TIME')\nlocal a=p[1]*1000+p[2]/1000\nlocal q=tonumber(redis.call('GET',x))or 0\nif q>a then return math.ceil(q-a)end\nlocal f,r=0,false\nlocal j={}\nlocal function k(z)\nf=math.max(f,math.ceil(z))\nend\nlocal function A(b,s,l,c)\nc=math.min(c,l)\nlocal t=redis.call('HMGET',b,'tokens','at')\nlocal u=a-(tonumber(t[2])or a)\nlocal g=math.min(l,(tonumber(t[1])or l)+math.max(0,u)*s/1000)\nlocal function v(B)\nredis.call('HSET',b,'tokens',string.format('%.9f',B),'at',string.format('%.3f',a))\nend\nif g<c then\nif u<0 then v(g)end\nk((c-g)*1000/s)\nend\nreturn function()v(g-c)end\nend\nlocal function C(b,e,h,c)\nc=math.min(c,h)\nredis.call('ZREMRANGEBYSCORE',b,'-inf',string.format('%.3f',a))\nlocal d=redis.call('ZRANGE',b,0,-1,'WITHSCORES')\nlocal m=0\nfor i=1,#d,2 do m=m+tonumber(string.match(d[i],':(%d+)$'))end\nlocal n=h-m\nfor i=1,#d,2 do\nif n>=c then break end\nn=n+tonumber(string.match(d[i],':(%d+)$'))\nk(math.min(tonumber(d[i+1])-a,e))\nif tonumber(d[i+1])>a+e then redis.call('ZADD',b,string.format('%.3f',a+e),d[i])end\nend\nreturn function()\nredis.call('ZADD',b,string.format('%.3f',a+e),string.format('%.3f:%d:%d',a,#d,c))\nend\nend\nlocal function D(b,o)\nlocal w=tonumber(redis.call('GET',b))or 0\nif w>a then k(math.min(w-a,o))end\nreturn function()redis.call('SET',b,string.format('%.3f',a+o),'PX',math.ceil(o))end\nend\nlocal function E(b,h,e,c)\nif(tonumber(redis.call('GET',b))or 0)+c>h then r=true end\nreturn function()redis.call('SET',b,(tonumber(redis.call('GET',b))or 0)+c,'PX',e)end\nend\nlocal F={['rate']=A,['inProgress']=C,['spacing']=D,['budget']=E}\nfor i=3,#KEYS do\nlocal at=(i-3)*4\nj[#j+1]=F[ARGV[at+1]](KEYS[i],tonumber(ARGV[at+2]),tonumber(ARGV[at+3]),tonumber(ARGV[at+4]))\nend\nif r then return-1 end\nif f>0 then return f end\nfor _,G in ipairs(j)do G()end\nreturn 0",
  sha1: "5abe36467ec76ee45c152a5754fef7dccbf4628e",
  upstashSha1: "5b947918adef05a488fd0f133cbb841f4a944352",
}

export const publishScript: Script = {
  name: "publish",
  text: "local ag,Z,ah,ai=KEYS[1],KEYS[2],KEYS[3],KEYS[4]\nlocal N,v,aa,aj,aD=KEYS[5],KEYS[6],KEYS[7],KEYS[8],KEYS[9]\nlocal O,aE,ak,aF=ARGV[1],ARGV[2],ARGV[3],ARGV[4]\nlocal o,al,P=ARGV[5],tonumber(ARGV[6]),tonumber(ARGV[7])\nlocal aG=1000\nlocal unpack=table.unpack or unpack\nlocal function n(D)return string.format('%.0f',D)end\nlocal h\nlocal function f(q,c,...)\nlocal Q=redis.pcall(q,c,...)\nif type(Q)~='table'or not Q.err then return Q end\nh=h or redis.error_reply(Q.err..' ('..q..' '..c..')')\nend\nlocal r\nlocal function p(q,...)r[#r+1]={q,{...}}end\nlocal function w(c,E,x,...)\np({'SET',c,E,...},x and{'SET',c,x})\nend\nlocal function am()\nif h then return end\nfor at=1,#r do\nf(unpack(r[at][1]))\nif h then\nfor aH=at-1,1,-1 do\nfor _,an in ipairs(r[aH][2])do\nif an then redis.pcall(unpack(an))end\nend\nend\nreturn\nend\nend\nend\nlocal function ao()\nif o==''then return end\nfor _,c in ipairs({N,aa})do\nlocal at=f('ZSCORE',c,o)\nif at then p({'ZREM',c,o},{'ZADD',c,at,o})end\nend\nlocal R=f('HGET',v,o)\nif R then p({'HDEL',v,o},{'HSET',v,o,R})end\nend\nif O~=''then\nlocal ap=f('GET',ai)\nif ap then\nlocal F,aI=string.match(ap,'^(%S+) (.+)$')\nif F~=O then return{'reused'}end\nr={}\nao()\nam()\nreturn h or{'dup',aI}\nend\nend\nlocal S,G,H,T,s={},{},{},{},0\nlocal function aq(c)\nif not S[c]then\nlocal t=f('GET',c)\nlocal e,I,floor=string.match(t or'','^(%d+) %d+ (%d+) (%d+)$')\nS[c]={c=c,t=t,e=e or'0',I=I or'0',floor=floor or'0',F=0,ab=0}\nend\nreturn S[c]\nend\nlocal ar,aJ=f('GET',ag),tonumber(aq(ah).e)\nlocal at=8\nfor k=1,P do\nlocal b={R=ARGV[at],u=ARGV[at+1],aK=ARGV[at+2],aL=ARGV[at+3],\nas=ARGV[at+6],au=tonumber(ARGV[at+7]),ac=at+8}\nlocal a=aq(KEYS[8+2*k])\na.aM,a.av=tonumber(ARGV[at+4]),tonumber(ARGV[at+5])\nif not a.j then\na.j=KEYS[9+2*k]\nG[#G+1]=a\nif a~=S[ah]then\na.F=f('ZCARD',a.j)\nif not a.t then s=s+1 end\nend\nend\nat=b.ac+3*b.au\nb.a,H[k]=a,b\nfor J=at+1,at+ARGV[at]do\nlocal d=a.d\nif not d or#d.U==1000 then\nd={a=a,V={'ZMSCORE',a.j},U={}}\na.d,T[#T+1]=d,d\nend\nd.V[#d.V+1],d.U[#d.U+1],a.ab=ARGV[J],b,a.ab+1\nend\nat=at+ARGV[at]+1\nend\nfor _,d in ipairs(T)do d.aN=f(unpack(d.V))end\nlocal ad=s>0 and f('GET',aj)\nif h then\nfor _,b in ipairs(H)do redis.pcall('PUBLISH',b.u,'{\"v\":1,\"broken\":true}')end\nreturn h\nend\nif s>0 and al>0 and(tonumber(ad)or 0)+s>al then return{'tooMany'}end\nlocal K\nif ak~=''then\nK=tonumber(ak)\nelse\nlocal aw=redis.call('TIME')\nK=aw[1]*1000000+aw[2]\nend\nlocal function ax()\nlocal y=redis.call('XREVRANGE',Z,'+','-','COUNT',1)\nreturn y[1]and tonumber(string.match(y[1][1],'^(%d+)'))or 0\nend\nlocal z,A,L,ay=string.match(ar or'','^(%d+) (%d+) (%d+) (%S+)$')\nlocal az=not z\nif az then A,L,ay=ax(),1,'-'else A,L=tonumber(A),tonumber(L)end\nlocal function aO(d)\nlocal a=d.a\nlocal M,m,g={'ZADD',a.j},{'ZREM',a.j},{'ZADD',a.j}\nfor k,i in ipairs(d.aN)do\nlocal J=d.V[k+2]\nif not i then a.l=a.l+1 end\nM[#M+1],M[#M+2]=d.U[k].i,J\nif i then g[#g+1],g[#g+2]=i,J else m[#m+1]=J end\nend\np(M,unpack(#m==2 and{g}or#g==2 and{m}or{g,m}))\nend\nlocal B,W,X\nlocal function aA()\nh,r,B,W,X=nil,{},{},{},{}\nlocal C=math.max(A+1,K)\nif C+P>9007199254740000 then\nh=redis.error_reply('EPOCH beyond 2^53')\nreturn\nend\nif az then z=n(C)end\nfor k,b in ipairs(H)do\nb.i=n(C+k-1)\nif b.aK~='tags'then b.a.e=b.i end\nif b.aL=='purge'then b.a.I=b.i end\nb.a.aB,b.a.l=b.i,b.a.F\nend\nfor _,a in ipairs(G)do\na.E=a.e..' '..a.aB..' '..a.I..' '..a.floor\nif a.t then w(a.c,a.E,a.t)else w(a.c,a.E,false,'XX')end\nend\nif o~=''then\np({'ZREM',N,'-'})\np({'HDEL',v,'-'})\nend\nfor _,d in ipairs(T)do aO(d)end\nlocal g,m={},{}\nfor c,aC in pairs({[v]={'HSET','HDEL'},[N]={'ZADD','ZREM'},[aa]={'ZADD','ZREM'}})do\ng[c],m[c]={aC[1],c},{aC[2],c}\nend\nlocal function ae(c,id,C,aP)\ng[c][#g[c]+1],g[c][#g[c]+2],m[c][#m[c]+1]=C,aP,id\nend\nfor _,b in ipairs(H)do\nfor Y=b.ac,b.ac+3*b.au-1,3 do\nlocal aQ,id=ARGV[Y],(b.as==''and b.i or b.as)..':'..ARGV[Y]\nae(v,id,id,ARGV[Y+2])\nif aQ=='second'then ae(aa,id,b.i,id)\nelse ae(N,id,n(K+ARGV[Y+1]),id)end\nend\nend\nfor c,q in pairs(g)do\nif#q>2 then p(q,m[c])end\nend\nao()\nfor k,b in ipairs(H)do\nlocal D,id=n(L+k),b.i..'-0'\np({'XADD',Z,'MAXLEN','~',aF,id,'v','1','g',z,'s',D,'d',b.R},\n{'XDEL',Z,id})\nB[k]=b.i..':'..D\nif not X[b.u]then W[#W+1]=b.u end\nX[b.u]='{\"v\":1,\"g\":'..z..',\"e\":'..b.i..',\"s\":'..D..'}'\nend\nfor _,a in ipairs(G)do\nif not a.t then w(a.c,a.E)end\nend\nif s>0 then w(aj,n((tonumber(ad)or 0)+s),ad)end\nw(ag,z..' '..n(C+P-1)..' '..n(L+P)..' '..ay,ar)\nB=z..' '..table.concat(B,' ')\nif O~=''then w(ai,O..' '..B,false,'EX',aE)end\nam()\nend\nlocal af=0\naA()\nwhile h and string.find(h.err,'equal or smaller',1,true)do\nA,af=math.max(A+af,ax()),2*af+1\naA()\nend\nif h then return h end\nfor _,a in ipairs(G)do\nif a.l>0 then\nif a.F==0 then f('SADD',aD,a.j)end\nlocal x=f('ZCOUNT',a.j,'-inf',n(math.max(K-a.aM,a.e-1,aJ-1)))or 0\nlocal l=a.l\nif x>0 or l>a.av then l=f('ZCARD',a.j)or 0 end\nlocal go=math.min(math.max(x,l-a.av),aG+a.ab)\nif x==l then go=l end\nlocal y=go>0 and f('ZRANGE',a.j,go-1,go-1,'WITHSCORES')\nif y and y[2]then\nlocal floor=n(math.max(a.floor,y[2]))\nf('SET',a.c,a.e..' '..a.aB..' '..a.I..' '..floor)\nif go==l then f('UNLINK',a.j)else f('ZREMRANGEBYRANK',a.j,0,go-1)end\nend\nend\nend\nfor _,u in ipairs(W)do redis.pcall('PUBLISH',u,X[u])end\nreturn{'ok',B}",
  sha1: "586b84a4b920a48dc71f7b732877060819917a71",
  upstashSha1: "11e030bc5240c8ec15b752087049312131e05b55",
}

export const readScript: Script = {
  name: "read",
  text: "local h,i,j=KEYS[1],KEYS[2],KEYS[3]\nlocal k,d,l=ARGV[1],tonumber(ARGV[2]),tonumber(ARGV[3])\nlocal m=8\nlocal e=redis.call('GET',h)\nlocal n=string.match(e or'','^%d+ (%d+) ')or'+'\nlocal a,c={},0\nlocal f=k..'-1'\nwhile#a<d and c<l do\nlocal b=redis.call('XRANGE',i,f,n,'COUNT',math.min(m,d-#a))\nif#b==0 then break end\nfor _,g in ipairs(b)do\na[#a+1]=g\nfor _,o in ipairs(g[2])do c=c+#o end\nend\nf=string.match(b[#b][1],'^(%d+)')..'-1'\nend\nreturn{e,a,redis.call('ZRANGE',j,0,0,'WITHSCORES')[2]}",
  sha1: "f347af61ccd9a84ae0242aa52f38ff53d67ec30c",
  upstashSha1: "d8cbfd951653011022d7297314a7da9bcaea0f27",
}

export const releaseScript: Script = {
  name: "release",
  text: "if redis.call('GET',KEYS[1])==ARGV[1]then return redis.call('DEL',KEYS[1])end\nreturn 0",
  sha1: "6d9da0ae15842971fc6928cd8efcc8cdfc76c4c3",
  upstashSha1: "5db0fb6682b0f26714df420da7a11b3025ec8fc9",
}

export const replayScript: Script = {
  name: "replay",
  text: "local b,d,e,a=KEYS[1],KEYS[2],KEYS[3],KEYS[4]\nlocal id,at,c,f,g=ARGV[1],ARGV[2],ARGV[3],ARGV[4],ARGV[5]\nif#redis.call('XRANGE',b,id,id)==0 then return'gone'end\nfor i=6,#ARGV,3 do\nif not redis.call('ZSCORE',a,ARGV[i+1])then return'changed'end\nend\nredis.call('HSET',e,c,f)\nredis.call('ZADD',d,at,c)\nfor i=6,#ARGV,3 do\nredis.call('ZREM',a,ARGV[i+1])\nredis.call('ZADD',a,ARGV[i],ARGV[i+2])\nend\nredis.call('XDEL',b,id)\nredis.pcall('PUBLISH',g,'{\"v\":1}')\nreturn'ok'",
  sha1: "3cb6ac3b83998628c99ccfc3a86ef943aaf707e4",
  upstashSha1: "a74738b9327adbd6d5e4c8182efbdff74dd09144",
}

export const restScript: Script = {
  name: "rest",
  text: "local function f(b)\nlocal a=redis.pcall('ZRANGE',b,0,0,'WITHSCORES')\nif a.err then return'0'end\nreturn a[2]or false\nend\nlocal function c(b)\nlocal a=redis.pcall('HGETALL',b)\nreturn not a.err and a\nend\nlocal d={}\nfor e=4,#KEYS do d[e-3]=f(KEYS[e])end\nreturn{redis.call('GET',KEYS[1]),c(KEYS[2]),c(KEYS[3]),d}",
  sha1: "6524c391e97337228a75d57eaf62b87b04d04aa0",
  upstashSha1: "e8f87c7e88bad8d10536218e1adf2a96751af10e",
}

export const sweepScript: Script = {
  name: "sweep",
  text: "local n,i=KEYS[1],KEYS[2]\nlocal f=1000\nredis.call('DEL',n)\nlocal function j(o)return string.format('%.0f',o)end\nlocal function p(c)return tonumber(string.match(redis.call('GET',c)or'','^(%d+)'))or 0 end\nlocal k=redis.call('TIME')\nlocal q=k[1]*1000000+k[2]\nlocal g,at=0,3\nfor l=1,#ARGV,2 do\nlocal c,a,m=KEYS[at],KEYS[at+1],tonumber(ARGV[l])\nlocal b=q-ARGV[l+1]\nfor r=at+2,at+1+m do b=math.max(b,p(KEYS[r])-1)end\nat=at+2+m\nlocal e,s,t,floor=string.match(redis.call('GET',c)or'','^(%d+) (%d+) (%d+) (%d+)$')\nlocal d=redis.call('ZCARD',a)\nif d==0 then\nredis.call('SREM',i,a)\nelseif e then\nb=math.max(b,e-1)\nlocal h=redis.call('ZCOUNT',a,'-inf',j(b))\nlocal go=math.min(h,f)\nif h==d then go=d else f=f-go end\ng=g+h-go\nif go>0 then\nlocal u=redis.call('ZRANGE',a,go-1,go-1,'WITHSCORES')[2]\nredis.call('SET',c,e..' '..s..' '..t..' '..j(math.max(floor,u)))\nif go==d then\nredis.call('UNLINK',a)\nredis.call('SREM',i,a)\nelse\nredis.call('ZREMRANGEBYRANK',a,0,go-1)\nend\nend\nend\nend\nreturn g",
  sha1: "534200806c2fcc0b7e99902ff667e42b444c1d69",
  upstashSha1: "57e8e5f9d6f52672a26bdc54c94065897bd58655",
}
