# frozen_string_literal: true

# Asks a node as Astute's client does: nodes are named, not discovered; who does not answer is told as nothing.
# A line of standard input is a call, {"agent", "action", "arguments", "node", "timeout"}; a line of standard output its answers.

require "json"
require "mcollective"

include MCollective::RPC

options = MCollective::Util.default_options
options[:config] = "/etc/mcollective/client.cfg"

$stdin.each_line do |line|
  call = JSON.parse(line)
  client = rpcclient(call["agent"], :options => options, :exit_on_failure => false)
  client.timeout = call["timeout"]
  client.progress = false
  client.discover(:nodes => [call["node"]])
  arguments = call["arguments"].transform_keys(&:to_sym)
  answers = client.send(call["action"].to_sym, arguments).map(&:results)
  puts JSON.generate(answers)
rescue StandardError => error
  # Refused before it is sent: the DDL knows better.
  puts JSON.generate([{ "refused" => error.message }])
ensure
  $stdout.flush
end
