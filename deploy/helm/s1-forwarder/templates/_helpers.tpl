{{- define "s1-forwarder.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end -}}

{{/* The default of `--instance`, which has at most 40 characters and no dots. */}}
{{- define "s1-forwarder.fullname" -}}
{{- $name := include "s1-forwarder.name" . -}}
{{- $default := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- .Values.fullnameOverride | default $default | replace "." "-" | trunc 40 | trimAll "-" -}}
{{- end -}}

{{- define "s1-forwarder.selector" -}}
app.kubernetes.io/name: {{ include "s1-forwarder.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The pod of `helm test`. */}}
{{- define "s1-forwarder.testSelector" -}}
app.kubernetes.io/name: {{ include "s1-forwarder.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "s1-forwarder.labels" -}}
{{ include "s1-forwarder.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "s1-forwarder.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "s1-forwarder.fullname" .) -}}
{{- end -}}

{{- define "s1-forwarder.image" -}}
{{- with .Values.global.imageRegistry | default .Values.image.registry -}}
{{ . }}/
{{- end -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* How the workers' pages are reached. */}}
{{- define "s1-forwarder.scheme" -}}
{{- ternary "https" "http" .Values.web.tls -}}
{{- end -}}

{{/* Name, namespace and labels of an object with the release's name. */}}
{{- define "s1-forwarder.metadata" -}}
name: {{ include "s1-forwarder.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "s1-forwarder.labels" . | nindent 2 }}
{{- end -}}

{{/* The same in another namespace and with further labels: a list of the context, the namespace and the labels. */}}
{{- define "s1-forwarder.metadataIn" -}}
{{- $root := index . 0 -}}
name: {{ include "s1-forwarder.fullname" $root }}
namespace: {{ index . 1 | default $root.Release.Namespace }}
labels:
  {{- include "s1-forwarder.labels" $root | nindent 2 }}
  {{- with index . 2 }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Name of the rights to Pipeline resources. Those of releases in other namespaces have other names. */}}
{{- define "s1-forwarder.resourcesName" -}}
{{ .Release.Namespace }}-{{ include "s1-forwarder.fullname" . }}-resources
{{- end -}}

{{/* A list of the context and the namespace. */}}
{{- define "s1-forwarder.resourcesMetadata" -}}
{{- $root := index . 0 -}}
name: {{ include "s1-forwarder.resourcesName" $root }}
{{- if ne (index . 1) "*" }}
namespace: {{ index . 1 }}
{{- end }}
labels:
  {{- include "s1-forwarder.labels" $root | nindent 2 }}
{{- end -}}
