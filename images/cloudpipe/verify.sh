#!/bin/sh
# OpenVPN calls this for each certificate of a client: verify.sh PROJECT DEPTH SUBJECT. A
# certificate of another project's user is refused, also where one authority signs for all projects.
[ "$2" = 0 ] || exit 0
case $3 in
"O=novanet, OU=$1, CN="*) exit 0 ;;
esac
echo "cloudpipe: refused a certificate of another project: $3"
exit 1
