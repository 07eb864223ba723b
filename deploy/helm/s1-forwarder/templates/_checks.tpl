{{/* Bytes of a size such as 512MiB or of a quantity such as 1Gi. Empty for other forms. */}}
{{- define "s1-forwarder.bytes" -}}
{{- $units := dict "" 1 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "K" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 -}}
{{- if not (kindIs "string" .) -}}
{{- int64 . -}}
{{- else -}}
{{- $number := regexFind "^[0-9]+([.][0-9]+)?" . -}}
{{- $unit := trimPrefix $number . | trimSuffix "B" -}}
{{- if and $number (hasKey $units $unit) -}}
{{- mulf (float64 $number) (get $units $unit) | int64 -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Fails for values that contradict each other: what the schema cannot say, or says without a hint. */}}
{{- define "s1-forwarder.checks" -}}
{{- if hasKey .Values "replicaCount" -}}
{{- fail "there is no value replicaCount: did you mean `replicas`?" -}}
{{- end -}}
{{- $workers := ternary .Values.autoscaling.maxReplicas .Values.replicas .Values.autoscaling.enabled -}}
{{- if gt (int $workers) (int .Values.worker.shards) -}}
{{- fail (printf "%v workers cannot share worker.shards: %v; the others would have no work" $workers .Values.worker.shards) -}}
{{- end -}}
{{- $limit := dig "limits" "memory" "" .Values.resources -}}
{{- $bytes := include "s1-forwarder.bytes" $limit -}}
{{- if $bytes -}}
{{- $least := add (include "s1-forwarder.bytes" .Values.worker.memoryBudget) 268435456 -}}
{{- if lt (int64 $bytes) $least -}}
{{- fail (printf "resources.limits.memory: %v is too little for worker.memoryBudget: %s; the limit must be at least %dMi, which is 256Mi more than the budget" $limit .Values.worker.memoryBudget (div (add $least 1048575) 1048576)) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "state" "deadLetters" -}}
{{- $location := get $.Values.worker $key -}}
{{- if or (regexMatch "(?i)password=" $location) (regexMatch "^kafka://[^/]*@" $location) -}}
{{- fail (printf "worker.%s has a password, which everybody could read in the Deployment: put the whole text into a Secret, and name it in worker.existingSecret (name, %sKey)" $key $key) -}}
{{- end -}}
{{- end -}}
{{- range $name, $text := .Values.pipelines.inline -}}
{{- include "s1-forwarder.mapping" (list (printf "pipelines.inline.%s" $name) $text) -}}
{{- end -}}
{{- with .Values.pipelines.defaults -}}
{{- include "s1-forwarder.mapping" (list "pipelines.defaults" .) -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- fail "metrics.serviceMonitor and metrics.podMonitor are both enabled, and every sample would count twice: enable one of them" -}}
{{- end -}}
{{- end -}}

{{/* Fails for a text that is no YAML mapping: a list of the value's name and the text. */}}
{{- define "s1-forwarder.mapping" -}}
{{- $mapping := fromYaml (index . 1) -}}
{{- with $mapping.Error -}}
{{- fail (printf "%s is not the text of a pipeline file: %v" (index $ 0) .) -}}
{{- end -}}
{{- if not $mapping -}}
{{- fail (printf "%s has no keys" (index . 0)) -}}
{{- end -}}
{{- end -}}
