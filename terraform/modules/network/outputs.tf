output "vpc_id" {
  description = "Id of the VPC."
  value       = aws_vpc.this.id
}

output "cidr" {
  description = "Addresses of the VPC."
  value       = aws_vpc.this.cidr_block
}

output "subnet_ids" {
  description = "Private subnets, one per zone; what runs in them reaches AWS once the endpoints or the NAT gateway stand."
  value       = [for zone in sort(keys(local.private)) : aws_subnet.private[zone].id]

  depends_on = [aws_vpc_endpoint.gateway, aws_vpc_endpoint.interface, aws_route.nat, aws_route_table_association.private]
}

output "public_subnet_ids" {
  description = "Subnets with a way in from the internet; none without NAT."
  value       = [for zone in sort(keys(local.public)) : aws_subnet.public[zone].id]
}

output "task_security_group_id" {
  description = "Security group of containers and jobs: out to AWS services (with NAT to any TLS address), nobody in."
  value       = aws_security_group.tasks.id
}
