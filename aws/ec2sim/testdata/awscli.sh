#!/usr/bin/env bash
# awscli.sh: what people do with the command line of AWS, against the endpoint $URL.
# Older versions don't read AWS_ENDPOINT_URL, so it is given to each.
set -euo pipefail

cloud() { aws --endpoint-url "$URL" --output text "$@"; }
want() { # what, got, wanted
	[[ $2 == "$3" ]] || { echo "$1: got '$2', want '$3'" >&2; exit 1; }
}
refused() { # code, command...
	local code=$1 text
	shift
	if text=$("$@" 2>&1); then echo "not refused with $code: $*" >&2; exit 1; fi
	[[ $text == *"($code)"* ]] || { echo "$*: got '$text', want $code" >&2; exit 1; }
}

want account "$(cloud sts get-caller-identity --query Account)" 123456789012
image=$(cloud ssm get-parameter --query Parameter.Value \
	--name /aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id)
group=$(cloud ec2 create-security-group --group-name fleet --description "a fleet" --query GroupId \
	--tag-specifications 'ResourceType=security-group,Tags=[{Key=Project,Value=loads}]')
cloud ec2 authorize-security-group-ingress --group-id "$group" --protocol tcp --port 2376 --cidr 192.0.2.0/24 >/dev/null
refused InvalidPermission.Duplicate \
	cloud ec2 authorize-security-group-ingress --group-id "$group" --protocol tcp --port 2376 --cidr 192.0.2.0/24

launch=(cloud ec2 run-instances --image-id "$image" --instance-type m5.large --count 2 --client-token fleet-1
	--security-group-ids "$group" --user-data "#!/bin/sh" --instance-initiated-shutdown-behavior terminate
	--metadata-options HttpTokens=required,HttpPutResponseHopLimit=1
	--block-device-mappings 'DeviceName=/dev/xvda,Ebs={VolumeSize=50}'
	--tag-specifications 'ResourceType=instance,Tags=[{Key=Project,Value=loads}]' --query 'Instances[].InstanceId')
read -r -a fleet <<<"$("${launch[@]}")"
want "instances launched" "${#fleet[@]}" 2
want "the same token" "$("${launch[@]}")" "$(printf '%s\t%s' "${fleet[@]}")"
refused InvalidAMIID.NotFound cloud ec2 run-instances --image-id ami-0123456789abcdef0 --instance-type m5.large
refused DryRunOperation cloud ec2 terminate-instances --dry-run --instance-ids "${fleet[0]}"

cloud ec2 wait instance-running --filters Name=tag:Project,Values='lo*'
want "instances by tag, page by page" "$(cloud ec2 describe-instances --page-size 5 \
	--filters Name=tag:Project,Values=loads Name=instance-state-name,Values=running \
	--query 'length(Reservations[].Instances[])')" 2
want volume "$(cloud ec2 describe-volumes --filters "Name=attachment.instance-id,Values=${fleet[0]}" --query 'Volumes[].Size')" 50
want "spot price" "$(cloud ec2 describe-spot-price-history --instance-types m5.large --availability-zone us-east-1a \
	--product-descriptions Linux/UNIX --query 'length(SpotPriceHistory)')" 1
cloud ec2 terminate-instances --instance-ids "${fleet[@]}" >/dev/null
cloud ec2 wait instance-terminated --instance-ids "${fleet[@]}"
cloud ec2 delete-security-group --group-id "$group" >/dev/null

want quota "$(cloud service-quotas get-service-quota --service-code ec2 --quota-code L-1216C47A --query Quota.Value)" 1920
want prices "$(cloud pricing get-products --service-code AmazonEC2 --query 'length(PriceList)' --filters \
	Type=TERM_MATCH,Field=instanceType,Value=m5.large Type=TERM_MATCH,Field=regionCode,Value=us-east-1)" 1

head -c 9000000 /dev/urandom >archive # more than one part
cloud s3 mb s3://runs >/dev/null
cloud s3 cp --no-progress archive s3://runs/plan/archive >/dev/null
cloud s3 cp --no-progress s3://runs/plan/archive again >/dev/null
cmp archive again
cloud s3 rb --force s3://runs >/dev/null
