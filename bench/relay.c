// The floor of a proxy: a single-threaded C epoll program that forwards connections between two ports of 127.0.0.1.
// Usage: relay PORT UPSTREAM_PORT
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
static int peer[65536]; static char data[262144];
int main(int a, char **v){
  if(a<3){ fprintf(stderr, "usage: relay PORT UPSTREAM_PORT\n"); return 2; }
  int s=socket(AF_INET,SOCK_STREAM,0), one=1, ep=epoll_create1(0); setsockopt(s,SOL_SOCKET,SO_REUSEADDR,&one,4);
  struct sockaddr_in ad={.sin_family=AF_INET,.sin_port=htons(atoi(v[1])),.sin_addr.s_addr=htonl(INADDR_LOOPBACK)}, up=ad; up.sin_port=htons(atoi(v[2]));
  if(bind(s,(void*)&ad,sizeof ad)||listen(s,4096)){ perror("bind"); return 1; }
  struct epoll_event ev={.events=EPOLLIN,.data.fd=s}, E[512]; epoll_ctl(ep,EPOLL_CTL_ADD,s,&ev);
  for(;;){ int n=epoll_wait(ep,E,512,-1);
    for(int i=0;i<n;i++){ int fd=E[i].data.fd;
      if(fd==s){ int c=accept(s,NULL,NULL), u=socket(AF_INET,SOCK_STREAM,0); if(c<0||connect(u,(void*)&up,sizeof up)){ perror("connect"); return 1; }
        int both[2]={c,u}; peer[c]=u; peer[u]=c;
        for(int k=0;k<2;k++){ setsockopt(both[k],IPPROTO_TCP,TCP_NODELAY,&one,4); ev.data.fd=both[k]; epoll_ctl(ep,EPOLL_CTL_ADD,both[k],&ev); }
        continue; }
      if(peer[fd]<0) continue;
      int k=recv(fd,data,sizeof data,MSG_DONTWAIT);
      if(k<=0){ int other=peer[fd]; peer[fd]=peer[other]=-1; close(fd); close(other); continue; }
      send(peer[fd],data,k,MSG_NOSIGNAL); }   // blocks while the other side does not read: enough for a benchmark
  }
}
